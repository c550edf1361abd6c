import functools
import types

import compiling
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from properties import slow

from vae_jax import fitting, likelihoods, networks, objectives, schedules, training
from vae_jax.errors import DivergedError
from vae_jax.model import Model

SHAPE = (4, 4, 1)
N, B = 50, 16


def data(num=N):
    x = jax.random.bernoulli(jax.random.key(9), 0.4, (num, *SHAPE))
    return x.astype(jnp.uint8)


def preprocess(stored, key):
    keep = jax.random.bernoulli(key, 0.9, stored.shape)
    return stored.astype(jnp.float32) * keep.astype(jnp.float32)


def vae_train(num=N, loss_fn=None, likelihood=None, **options):
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=3, widths=(8,))
    model = Model(encoder, decoder, likelihood or likelihoods.Bernoulli(), SHAPE, 3)
    options = {"preprocess": preprocess, "num_examples": num, "batch_size": B, **options}
    return training.make_train(loss_fn or objectives.load("beta_vae"), model, **options)


def hparams(seed=0, **options):
    options = {"learning_rate": schedules.cosine(1e-2, 0, 20), **options}
    return training.Hparams(seed=jnp.int32(seed), **options)


def run(train, h, lengths, x=None, state=None):
    state = jax.jit(train.init)(h) if state is None else state
    chunk = jax.jit(train.chunk)
    x = data() if x is None else x
    for length in lengths:
        state = chunk(state, h, x, jnp.int32(length))
    return state


def assert_identical(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


class Toy:
    """A model of one weight; with `toy_loss` each quantity is known by hand."""

    shape = ()

    def init(self, key):
        del key
        return {"w": jnp.float32(0)}

    def replace(self, latent_mask):
        del latent_mask
        return self


def toy_loss(model, params, batch, key):
    """w·x for each example: the gradient is the mean of x."""
    del model, key
    return params["w"] * batch["x"], {"value": batch["x"]}


def sgd(h):
    return optax.sgd(h["learning_rate"])


def toy_train(num_examples, batch_size, optimizer=sgd, loss_fn=toy_loss, **more):
    return training.make_train(
        loss_fn,
        Toy(),
        preprocess=lambda stored, key: stored,
        num_examples=num_examples,
        batch_size=batch_size,
        optimizer=optimizer,
        **more,
    )


def test_cutting_an_epoch_into_chunks_changes_no_bit():
    train = vae_train()
    h = hparams(ema_decay=jnp.float32(0.9), clip_norm=jnp.float32(1.0))
    assert_identical(run(train, h, [4]), run(train, h, [1, 2, 1]))


def test_resuming_from_a_copy_changes_no_bit():
    train, h = vae_train(), hparams()
    halfway = jax.tree.map(np.asarray, run(train, h, [4, 2]))
    resumed = run(train, h, [2, 4], state=jax.tree.map(jnp.asarray, halfway))
    assert_identical(resumed, run(train, h, [4, 4, 4]))


@pytest.mark.fault("R13")
def test_same_seed_same_run_and_another_seed_another():
    train = vae_train()
    assert_identical(run(train, hparams(3), [4]), run(train, hparams(3), [4]))
    a, b = run(train, hparams(3), [4]), run(train, hparams(4), [4])
    assert any(
        np.abs(u - v).max() > 0
        for u, v in zip(jax.tree.leaves(a.params), jax.tree.leaves(b.params), strict=True)
    )


@pytest.mark.fault("R13")
@pytest.mark.slow
def test_runs_mapped_equal_runs_alone():
    train = vae_train()
    alone = [
        hparams(seed, learning_rate=schedules.constant(rate), objective={"beta": jnp.float32(beta)})
        for seed, rate, beta in [(0, 1e-2, 1.0), (1, 3e-3, 4.0)]
    ]
    stacked = jax.tree.map(lambda *v: jnp.stack(v), *alone)
    states = jax.jit(jax.vmap(train.init))(stacked)
    states = jax.jit(jax.vmap(train.chunk, in_axes=(0, 0, None, None)))(
        states, stacked, data(), jnp.int32(4)
    )
    for r, h in enumerate(alone):
        one = jax.tree.map(lambda leaf, r=r: leaf[r], states)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            one,
            run(train, h, [4]),
        )


@pytest.mark.slow
def test_jit_equals_eager():
    train, h = vae_train(), hparams()
    state = jax.jit(train.init)(h)
    batch = {"x": data(B).astype(jnp.float32), "mask": jnp.ones(B)}
    eager, metrics = train.step(state, h, batch, jax.random.key(0))
    jitted, jitted_metrics = jax.jit(train.step)(state, h, batch, jax.random.key(0))
    assert metrics["loss"] == pytest.approx(float(jitted_metrics["loss"]), rel=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5),
        eager.params,
        jitted.params,
    )


def test_chunks_of_any_length_compile_once():
    traces = []

    def counting(*args, **kwargs):
        traces.append(1)
        return objectives.load("beta_vae")(*args, **kwargs)

    train = vae_train(loss_fn=counting, likelihood=likelihoods.Gaussian("learned"))
    h = hparams(ema_decay=jnp.float32(0.9))
    state = jax.jit(train.init)(h)
    chunk = jax.jit(train.chunk, donate_argnums=0)
    other = h.replace(seed=jnp.int32(5), learning_rate=schedules.linear(1, 0, 7))
    with compiling.names() as compiled:
        state = chunk(state, h, data(), jnp.int32(1))
        first = len(traces)
        for length, next_h in [(2, h), (1, other)]:
            state = chunk(state, next_h, data(), jnp.int32(length))
    assert len(traces) == first
    assert compiled.count("chunk") == 1


def test_a_short_last_batch_weighs_what_it_holds():
    """10 examples in batches of 4: the third batch holds two, and its gradient is their mean."""
    x = jnp.exp2(jnp.arange(10.0))
    train, h = toy_train(10, 4), hparams(learning_rate=jnp.float32(1.0))
    state = run(train, h, [2], x)
    before = float(state.params["w"])
    seen = float(state.sums["value"])
    after = run(train, h, [3], x)
    left = float(x.sum()) - seen
    assert float(after.params["w"]) - before == pytest.approx(-left / 2, rel=1e-6)
    metrics = training.epoch_metrics(after, 10)
    assert metrics["value"] == pytest.approx(float(x.mean()), rel=1e-6)


def test_rows_that_fill_a_batch_up_to_the_devices_do_not_count():
    """Batches of 6 on 4 devices are padded to 8: weights and sums are those of one device."""
    x = jnp.exp2(jnp.arange(10.0))
    place = types.SimpleNamespace(
        num_data=4, place_batch=lambda batch: batch, keep_whole=lambda array: array
    )
    plain, spread = (toy_train(10, 6, layout=layout) for layout in (None, place))
    h = hparams(learning_rate=jnp.float32(0.1))
    assert len(spread.rows(jnp.int32(0), jnp.int32(0))) == 8
    assert_identical(run(plain, h, [2, 1], x), run(spread, h, [2, 1], x))


def test_each_epoch_visits_each_example_once_in_an_order_of_its_own():
    x = jnp.exp2(jnp.arange(12.0))
    train, h = toy_train(12, 1), hparams(learning_rate=jnp.float32(0.0))
    orders = []
    for seed in (0, 0, 1):
        h = hparams(seed, learning_rate=jnp.float32(0.0))
        state = jax.jit(train.init)(h)
        chunk = jax.jit(train.chunk)
        order, total = [], 0.0
        for step in range(24):
            state = chunk(state, h, x, jnp.int32(1))
            total = 0.0 if step % 12 == 0 else total
            order.append(int(np.log2(float(state.sums["value"]) - total)))
            total = float(state.sums["value"])
        assert sorted(order[:12]) == sorted(order[12:]) == list(range(12))
        assert order[:12] != order[12:]
        orders.append(order)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.fault("R7")
def test_a_step_that_is_not_finite_freezes_the_state():
    def loss_fn(model, params, batch, key):
        loss, aux = toy_loss(model, params, batch, key)
        return jnp.where(params["w"] < -2.5, jnp.nan, loss), aux

    train = training.make_train(
        loss_fn,
        Toy(),
        preprocess=lambda stored, key: stored,
        num_examples=10,
        batch_size=1,
        optimizer=lambda h: optax.sgd(h["learning_rate"]),
    )
    state = run(train, hparams(learning_rate=jnp.float32(1.0)), [8], jnp.ones(10))
    assert int(state.failure) == int(state.step) == 3
    assert float(state.params["w"]) == -3.0
    assert not np.isfinite(float(state.sums["loss"]))
    assert np.isfinite(float(state.sums["value"]))


def test_a_gradient_that_is_not_finite_freezes_the_state_of_a_finite_loss():
    """√w at w = 0 has the value 0 and an infinite slope."""

    def root(model, params, batch, key):
        del model, key
        return jnp.sqrt(params["w"]) * batch["x"], {}

    train = toy_train(4, 1, loss_fn=root)
    state = run(train, hparams(learning_rate=jnp.float32(0.1)), [2], jnp.ones(4))
    assert int(state.failure) == int(state.step) == 0
    assert float(state.params["w"]) == 0
    assert np.isfinite(float(state.sums["loss"]))


def test_an_update_sees_the_parameters_before_and_after_the_step():
    def update(model, before, after, batch, key):
        del model, batch, key
        return {**after, "objective": jnp.stack([before["w"], after["w"]])}

    objective = training.Objective(toy_loss, lambda model, key: jnp.zeros(2), update=update)
    train = toy_train(4, 1, loss_fn=objective)
    state = run(train, hparams(learning_rate=jnp.float32(0.1)), [2], jnp.ones(4))
    np.testing.assert_allclose(state.params["objective"], [-0.1, -0.2], rtol=1e-6)


def test_averaged_parameters_and_clipping():
    x = jnp.full(4, 10.0)
    train = toy_train(4, 1)
    # no rate of 1 and no decay of ½, which would hide what takes the place of what
    h = hparams(
        learning_rate=jnp.float32(0.1), clip_norm=jnp.float32(2.0), ema_decay=jnp.float32(0.75)
    )
    state = run(train, h, [2], x)
    # the gradient 10 is clipped to 2: w = −0.2, −0.4; averages −0.05, ¾·−0.05 − ¼·0.4
    assert float(state.params["w"]) == pytest.approx(-0.4)
    assert float(state.ema["w"]) == pytest.approx(-0.1375)
    assert training.epoch_metrics(state, 2)["grad_norm"] == pytest.approx(10.0)


def test_steps_with_a_large_gradient_are_skipped_and_counted():
    x = jnp.float32([1.0, 10.0, 2.0, 20.0])
    asked = {"learning_rate": jnp.float32(0.1), "skip_norm": jnp.float32(5.0)}
    state = run(toy_train(4, 1), hparams(**asked), [3, 1], x)
    assert_identical(state, run(toy_train(4, 1), hparams(**asked), [4], x))
    # the gradients are 1, 10, 2 and 20: w = −0.1 · (1 + 2)
    assert float(state.params["w"]) == pytest.approx(-0.3)
    found = training.epoch_metrics(state, 4)
    assert found[training.SKIPPED] == 2
    assert found["grad_norm"] == pytest.approx(33 / 4)
    # of a padded batch, too: 5 rows in batches of 2
    state = run(toy_train(5, 2), hparams(**asked), [3], jnp.full(5, 10.0))
    assert training.epoch_metrics(state, 5)[training.SKIPPED] == pytest.approx(3)


def test_a_skipped_step_changes_no_bit():
    train = vae_train()
    more = {"ema_decay": jnp.float32(0.9), "skip_norm": jnp.float32(1e-6)}
    h = hparams(**more)
    start, after = run(train, h, []), run(train, h, [3])
    for name in ("params", "opt_state", "ema", "failure", "stopped"):
        assert_identical(getattr(start, name), getattr(after, name))
    assert after.step == 3
    # a norm that no gradient exceeds changes nothing of the training but its rounding
    wanted = run(train, hparams(ema_decay=jnp.float32(0.9)), [3])
    large = run(train, hparams(**{**more, "skip_norm": jnp.float32(1e6)}), [3])
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-7)
    jax.tree.map(close, (wanted.params, wanted.ema), (large.params, large.ema))
    assert large.sums[training.SKIPPED] == 0


def test_a_gradient_that_is_not_finite_is_a_failure_not_a_skipped_step():
    h = hparams(learning_rate=jnp.float32(0.1), skip_norm=jnp.float32(5.0))
    state = run(toy_train(4, 1), h, [4], jnp.full(4, jnp.inf))
    assert state.failure == 0
    assert state.stopped


class Keyed:
    """A model whose parts all ask for keys, and keep them where a test can read them."""

    shape = (4,)
    reads_x = has_modes = True
    teacher_key = train_key = None

    def init(self, key):
        return {"w": jnp.float32(0), "drawn": halves(key)}

    def replace(self, **given):
        own = Keyed()
        vars(own).update(vars(self) | given)
        return own


def halves(key):
    """The 64 bits of a key as four numbers that float32 holds exactly."""
    words = jax.random.key_data(key)
    return jnp.concatenate([words >> 16, words & 0xFFFF]).astype(jnp.float32)


def test_no_two_uses_of_randomness_share_a_key():
    """Of initial values, of each step what stores, draws and updates, of the next step too."""

    def loss(model, params, batch, key):
        seen = {f"loss{i}": jnp.broadcast_to(half, (1,)) for i, half in enumerate(halves(key))}
        return jnp.broadcast_to(params["w"], (1,)), seen

    def update(model, before, after, batch, key):
        del before
        keys = {"update": key, "teacher": model.teacher_key, "train": model.train_key}
        kept = {name: halves(each) for name, each in keys.items()}
        return {**after, "objective": {**after["objective"], **kept, "preprocess": batch["x"][0]}}

    def init(model, key):
        del model
        names = "update", "teacher", "train", "preprocess"
        return {"init": halves(key), **dict.fromkeys(names, jnp.zeros(4))}

    train = training.make_train(
        training.Objective(loss, init=init, update=update),
        Keyed(),
        preprocess=lambda stored, key: halves(key)[None],
        num_examples=1,
        batch_size=1,
        optimizer=lambda h: optax.sgd(h["learning_rate"]),
    )
    h = hparams(learning_rate=jnp.float32(0.1))
    state = jax.jit(train.init)(h)
    chunk, found = jax.jit(train.chunk), [state.params["drawn"], state.params["objective"]["init"]]
    for _ in range(2):
        state = chunk(state, h, jnp.zeros((1, 4)), jnp.int32(1))
        found += [v for name, v in state.params["objective"].items() if name != "init"]
        found.append(jnp.stack([state.sums[f"loss{i}"] for i in range(4)]))
    assert len({tuple(np.asarray(each).tolist()) for each in found}) == len(found) == 12


def test_a_phase_begins_with_a_fresh_optimizer():
    """Two phases of two steps: the second goes as the first did, with Adam's count and moments."""
    objective = training.Objective(
        lambda model, params, batch, key, *, stage: toy_loss(model, params, batch, key),
        phase=lambda model, *, stage: jnp.floor(stage),
    )
    train = training.make_train(
        objective,
        Toy(),
        preprocess=lambda stored, key: stored,
        num_examples=1,
        batch_size=1,
    )
    h = hparams(learning_rate=jnp.float32(0.1), objective={"stage": schedules.linear(0, 2, 4)})
    state, chunk, seen = jax.jit(train.init)(h), jax.jit(train.chunk), []
    for step in range(4):
        # gradients of another size, so that old moments would tell
        x = jnp.float32([1.0, 3.0])[jnp.array([step % 2])]
        state = chunk(state, h, x, jnp.int32(1))
        seen.append(state)
    assert [int(each.opt_state[0].count) for each in seen] == [1, 2, 1, 2]
    assert_identical(seen[0].opt_state[0].mu, seen[2].opt_state[0].mu)
    assert_identical(seen[1].opt_state[0].nu, seen[3].opt_state[0].nu)


def test_a_phase_begins_with_its_own_parameters_and_average():
    """Only at the first step of the second phase, from its batch: gradients are the mean of x."""
    objective = training.Objective(
        lambda model, params, batch, key, *, stage: toy_loss(model, params, batch, key),
        phase=lambda model, *, stage: jnp.floor(stage),
        begin=lambda model, params, batch, key, *, stage: {"w": 100.0 * batch["x"].sum() + stage},
    )
    train = training.make_train(
        objective,
        Toy(),
        preprocess=lambda stored, key: stored,
        num_examples=1,
        batch_size=1,
        optimizer=lambda h: optax.sgd(h["learning_rate"]),
    )
    stage = {"stage": schedules.linear(0, 2, 4)}
    h = hparams(learning_rate=jnp.float32(1.0), objective=stage, ema_decay=jnp.float32(0.5))
    state, chunk, seen = jax.jit(train.init)(h), jax.jit(train.chunk), []
    for step in range(4):
        state = chunk(state, h, jnp.float32([1.0 + step]), jnp.int32(1))
        seen.append((float(state.params["w"]), float(state.ema["w"])))
    assert seen == [(-1, -0.5), (-3, -1.75), (298, 299.5), (294, 296.75)]


def test_schedules_are_read_at_the_step():
    x = jnp.ones(4)
    h = hparams(learning_rate=schedules.linear(1, 4, 3))
    state = run(toy_train(4, 1), h, [4], x)
    assert float(state.params["w"]) == pytest.approx(-(1 + 2 + 3 + 4))


@pytest.mark.parametrize("optimizer", sorted(training.OPTIMIZERS))
@pytest.mark.parametrize("adam", [{}, {"b1": 0.99, "eps": 1e-4}, {"b1": 0.5, "b2": 0.9}])
def test_optimizers_agree_with_optax(optimizer, adam):
    """Over two epochs of one step each, whose gradients are the mean of x."""
    reference = {
        "adam": optax.adam(0.1, **adam),
        "adamw": optax.adamw(0.1, weight_decay=0.3, mask={"w": False}, **adam),
        "sgd": optax.sgd(0.1),
        "momentum": optax.sgd(0.1, momentum=0.9),
    }[optimizer]
    x = jnp.array([1e-4, 2e-4, 3e-4])
    h = hparams(
        learning_rate=jnp.float32(0.1),
        weight_decay=jnp.float32(0.3),
        adam=jax.tree.map(jnp.float32, adam),
    )
    state = run(toy_train(3, 3, optimizer), h, [1, 1], x)
    params = {"w": jnp.float32(0)}
    memory = reference.init(params)
    with jax.numpy_dtype_promotion("standard"):
        for _ in range(2):
            updates, memory = reference.update({"w": jnp.float32(2e-4)}, memory, params)
            params = optax.apply_updates(params, updates)
    assert float(state.params["w"]) == pytest.approx(float(params["w"]), rel=1e-5)


def test_momentum_adds_up_past_gradients():
    """At a gradient of g in every step: w_n = −rate·g·Σ_{i ≤ n} (1 − 0.9^i) / 0.1."""
    x = jnp.full(4, 2.0)
    h = hparams(learning_rate=jnp.float32(0.01))
    state = run(toy_train(4, 4, "momentum"), h, [3], x)
    want = -0.01 * 2 * sum((1 - 0.9**i) / 0.1 for i in (1, 2, 3))
    assert float(state.params["w"]) == pytest.approx(want, rel=1e-5)


def test_weight_decay_spares_biases():
    params = {"kernel": jnp.float32(1), "bias": jnp.float32(1)}
    optimizer = training.OPTIMIZERS["adamw"](
        {"learning_rate": 0.1, "weight_decay": 0.5, "adam": {}}
    )
    with jax.numpy_dtype_promotion("standard"):
        zero = jax.tree.map(jnp.zeros_like, params)
        updates, _ = optimizer.update(zero, optimizer.init(params), params)
    assert float(updates["kernel"]) == pytest.approx(-0.05)
    assert float(updates["bias"]) == 0.0


@pytest.mark.parametrize("place", ["model", "hparams"])
def test_masked_latents_are_not_trained(place):
    mask = jnp.array([1.0, 0.0, 0.0])
    encoder, decoder = networks.build("mlp", shape=SHAPE, latent_dim=3, widths=(8,))
    model = Model(encoder, decoder, likelihoods.Bernoulli(), SHAPE, 3)
    h = hparams()
    if place == "model":
        model = model.replace(latent_mask=mask)
    else:
        h = h.replace(latent_mask=mask)
    options = {"preprocess": preprocess, "num_examples": N, "batch_size": B}
    train = training.make_train(objectives.load("beta_vae"), model, **options)
    state = run(train, h, [train.steps_per_epoch] * 2)
    start = training.masked(model, h).init(training.stream(0, "init"))
    moved = np.abs(
        state.params["decoder"]["latent"]["kernel"] - start["decoder"]["latent"]["kernel"]
    ).max(axis=1)
    np.testing.assert_array_equal(moved > 1e-3, [True, False, False])


@pytest.mark.parametrize(
    ("start", "step", "advice"),
    # the first loss is before any update: no learning rate has had a part in it
    [(0.0, 0, "try init_scale=0.1$"), (0.05, 1, "try a smaller learning_rate$")],
)
def test_fit_says_when_it_diverged(start, step, advice):
    def diverging(model, params, batch, key):
        loss, aux = toy_loss(model, params, batch, key)
        return loss + jnp.log(params["w"] + start), aux

    with pytest.raises(DivergedError, match=f"not finite at step {step}: {advice}"):
        fitting.fit(diverging, Toy(), jnp.ones(10), learning_rate=0.1, epochs=1, batch_size=5)


def test_train_until_yields_at_each_epoch_and_stops_at_the_end():
    train, h = vae_train(), hparams()
    states = list(
        training.train_until(
            jax.jit(train.chunk),
            jax.jit(train.init)(h),
            h,
            data(),
            first_step=0,
            num_steps=10,
            steps_per_epoch=train.steps_per_epoch,
        )
    )
    steps = [step for step, _ in states]
    states = [state for _, state in states]
    assert steps == [int(state.step) for state in states]
    assert {4, 8, 10} <= set(steps)
    assert steps == sorted(steps)
    assert steps[-1] == 10
    assert_identical(states[-1], run(train, h, [4, 4, 2]))


def test_streams_differ():
    keys = [training.stream(jnp.int32(0), name) for name in ("init", "order", "step")]
    assert len({tuple(np.asarray(jax.random.key_data(k))) for k in keys}) == 3


def test_a_stopped_state_keeps_every_bit():
    train = vae_train()
    h = hparams(ema_decay=jnp.float32(0.9))
    stopped = run(train, h, [4, 1]).replace(stopped=jnp.bool_(True))
    # also where an epoch begins, which starts the sums of others afresh
    assert_identical(run(train, h, [3, 4, 2], state=stopped), stopped)


def test_a_stopped_run_does_not_fail():
    train = toy_train(4, 1)
    h = hparams(learning_rate=jnp.float32(1.0))
    state = jax.jit(train.init)(h).replace(stopped=jnp.bool_(True))
    state = run(train, h, [4], jnp.full(4, jnp.nan), state=state)
    assert int(state.failure) == -1
    assert int(state.step) == 0


def test_train_until_ends_where_every_run_has_stopped():
    train, h = vae_train(), hparams()
    state = jax.jit(train.init)(h).replace(stopped=jnp.bool_(True))
    states = training.train_until(
        jax.jit(train.chunk), state, h, data(), first_step=0, num_steps=100, steps_per_epoch=4
    )
    assert len(list(states)) == 1


@pytest.mark.parametrize("make", [likelihoods.Gaussian, *slow(likelihoods.Laplace)])
def test_a_given_variance_is_a_fixed_one(make):
    """Same loss, same gradients of the networks, and no step moves the variance."""
    variance = 0.3
    x = data().astype(jnp.float32)
    batch = {"x": x[:B], "mask": jnp.ones(B)}
    h = hparams(learning_rate=schedules.constant(1e-2))
    given_h = h.replace(variance=jnp.float32(variance))
    fixed = vae_train(likelihood=make(variance), preprocess=lambda stored, key: stored)
    given = vae_train(likelihood=make("given"), preprocess=lambda stored, key: stored)
    start = jax.jit(given.init)(given_h)
    assert float(start.params["likelihood"]["logvar"]) == pytest.approx(np.log(variance))
    states = []
    for train, its_h in [(fixed, h), (given, given_h)]:
        state = jax.jit(train.init)(its_h)
        state, metrics = jax.jit(train.step)(state, its_h, batch, jax.random.key(1))
        states.append((state, metrics))
    (a, a_metrics), (b, b_metrics) = states
    assert a_metrics["loss"] == pytest.approx(float(b_metrics["loss"]), rel=1e-6)
    assert a_metrics["grad_norm"] == pytest.approx(float(b_metrics["grad_norm"]), rel=1e-5)
    for name in ("encoder", "decoder"):
        jax.tree.map(
            lambda u, v: np.testing.assert_allclose(u, v, rtol=1e-4, atol=1e-6),
            a.opt_state[0].mu[name],
            b.opt_state[0].mu[name],
        )
    end = run(given, given_h, [4, 4], x)
    np.testing.assert_array_equal(
        end.params["likelihood"]["logvar"], start.params["likelihood"]["logvar"]
    )
    moved = jax.tree.map(
        lambda u, v: np.abs(u - v).max(), end.params["encoder"], start.params["encoder"]
    )
    assert max(jax.tree.leaves(moved)) > 1e-3


def test_the_scale_of_initial_weights():
    """Every kernel is multiplied, nothing else; masked runs too start as their native twins."""
    train = vae_train()
    plain = train.init(hparams()).params
    scaled = train.init(hparams(init_scale=jnp.float32(0.5))).params
    for (path, before), after in zip(
        jax.tree.leaves_with_path(plain), jax.tree.leaves(scaled), strict=True
    ):
        factor = 0.5 if path[-1].key == "kernel" else 1.0
        np.testing.assert_array_equal(after, factor * before, err_msg=str(path))
    assert any(np.abs(leaf).max() > 0.1 for leaf in jax.tree.leaves(plain))
