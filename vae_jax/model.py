"""A model: an encoder, a decoder, a likelihood and a family of latents, as one value.

A model is a pytree whose only array is the latent mask; the modules are static. Parameters are kept
outside, as a plain dict `{"encoder", "decoder", "likelihood"}`, with "latent", "prior" or
"mechanism" if the latents, the prior or a missing mechanism have parameters, and "batch_stats" for
running statistics of the modules, which have no gradient.
"""

import functools
import html
import math
import numbers
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from vae_jax import arguments, labels, latents, modules, priors
from vae_jax.errors import UsageError, shown

__all__ = ["MANY_CLASSES", "Model", "Prediction"]

MANY_CLASSES = 256
"""Number of classes from which conditions are class indices, not unit vectors: a count."""

_INPUT = 2
"""Stream of the dropout of the input, beside those of encoder and decoder."""
Array = jax.Array | np.ndarray
"""Accepted types for an array of any shape; lists of numbers are accepted, too."""


class Prediction(NamedTuple):
    """The result of `predict`: the code [B, L] and the reconstruction [B, *shape]."""

    code: jax.Array
    reconstruction: jax.Array


class Model(flax.struct.PyTreeNode):
    """p(x, z) = p(x|z) p(z) with an amortized posterior q(z|x).

    Any two Linen modules plug in: an encoder from x [B, *shape] to (mean [B, L], logvar [B, L]), a
    decoder from z [B, L] to prod(shape)·num_outputs numbers per example. For latents that are not
    Gaussian, the encoder returns their `parts` instead. If the decoder `reads_x`, p(x|z) is a
    product over steps, Π_t p(x_t | x_<t, z), the first `num_step_axes` axes of x in reading order:
    see `networks.RecurrentDecoder` and `networks.PixelDecoder`.

    A module with BatchNorm or Dropout takes `train: bool` in its `__call__`: True in a training
    step, False otherwise. (Flax's `deterministic` and `use_running_average` are the opposite.) In
    training, BatchNorm normalizes by the rows it gets, and Dropout draws from a key of the step.
    Otherwise BatchNorm uses its running statistics, and there is no key. Each step updates the
    statistics once, however often the objective encodes and decodes. The update uses the parameters
    before the step, the uncorrupted x and one z ~ q(z|x) per example. A module may have no
    collections other than params and batch_stats.

    Args:
        encoder, decoder: Linen modules.
        likelihood: one of `vae_jax.likelihoods`.
        shape: shape of one example x, e.g. (28, 28, 1).
        latent_dim: L.
        latent_mask: None, or [L] of zeros and ones. A masked dimension has mean 0 and logvar 0 and
            is decoded as z = 0, so its rate is exactly 0, and the model is one of sum(latent_mask)
            dimensions. The mask is applied only here.
        latent: one of `vae_jax.latents`: the family of q(z|x), and of p(z) unless it is given.
        num_conditions: C, the size of the condition of x and z; 0 for none. In a conditional model
            both modules take a second argument [B, C], and `given` must be called before all else.
        condition: the condition set by `given`, [B, C]; of labels with C >= `MANY_CLASSES`, class
            indices [B], which modules that have `reads_classes` get as they are.
        teacher_key: in training, the PRNG key for teacher dropout of a decoder that reads x; None
            drops nothing.
        classes: the user's own labels of the C classes, numbers or words in the order of their
            indices; None if they are 0 … C − 1; () if the condition is numbers, not labels.
        train_key: in training, the PRNG key for modules that take `train`; None in evaluation.
        prior_family: one of `vae_jax.priors`, for Gaussian latents; None for that of `latent`.
        mechanism: p(s|x), which values are observed, see `vae_jax.mechanisms`; None for none.
        input_dropout: the share of what the encoder reads that is dropped in training, a scalar in
            [0, 1); the rest is scaled up, so that its mean stays.
    """

    encoder: nn.Module = flax.struct.field(pytree_node=False)
    decoder: nn.Module = flax.struct.field(pytree_node=False)
    likelihood: Any = flax.struct.field(pytree_node=False)
    shape: tuple[int, ...] = flax.struct.field(pytree_node=False)
    latent_dim: int = flax.struct.field(pytree_node=False)
    latent_mask: jax.Array | None = None
    latent: latents.Latent = flax.struct.field(pytree_node=False, default=latents.Gaussian())
    num_conditions: int = flax.struct.field(pytree_node=False, default=0)
    condition: jax.Array | None = None
    teacher_key: jax.Array | None = None
    classes: tuple | None = flax.struct.field(pytree_node=False, default=None)
    train_key: jax.Array | None = None
    prior_family: priors.Prior | None = flax.struct.field(pytree_node=False, default=None)
    mechanism: Any = flax.struct.field(pytree_node=False, default=None)
    input_dropout: float = flax.struct.field(pytree_node=False, default=0.0)

    def __repr__(self) -> str:
        used = self.latent_dim
        if self.latent_mask is not None and not isinstance(self.latent_mask, jax.core.Tracer):
            used = f"{int(np.asarray(self.latent_mask).sum())} of {used}"
        parts = [
            f"{type(self.encoder).__name__} → {used} {self.latent} → {type(self.decoder).__name__}",
            f"p(x|z) {self.likelihood}",
            *([] if self.prior_family is None else [f"p(z) {self.prior_family}"]),
            f"x {'×'.join(map(str, self.shape)) or 'a number'}",
        ]
        parts += [f"{self.num_conditions} conditions"] if self.num_conditions else []
        return f"Model({', '.join(parts)})"

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"

    def given(self, condition: Any) -> "Model":
        """Conditions the model on c: p(x, z | c) = p(x|z, c) p(z) and q(z|x, c).

        The rows of c may be those of x, or K·B rows of z, K samples for each of B.

        Args:
            condition: labels [B], each one of `classes`, which become unit vectors; or numbers [B,
                C], used as they are. A single label, [], applies to every row.

        Raises:
            UsageError: a label is not one of the classes, or the shape does not fit. Traced labels
                (in `jit`) cannot be checked: one that is not a class gives rows of NaN.
        """
        given = labels.encoded(condition, self.num_conditions, self.classes)
        return self._holding(given)

    def _holding(self, condition: jax.Array) -> "Model":
        """The model with a condition: class indices [B], or numbers [B, C]."""
        if self.num_conditions < MANY_CLASSES:
            condition = labels.vectors(condition, self.num_conditions)
        return self.replace(condition=condition)

    def given_encoded(self, condition: jax.Array) -> "Model":
        """Like `given`, for what batches hold: class indices [B] in [0, C), or numbers [B, C]."""
        condition = arguments.numeric("condition", condition)
        if condition.ndim == 1:
            return self._holding(labels.codes(condition, self.num_conditions))
        return self.given(condition)

    def _conditions(self, module: nn.Module, inputs: Array) -> tuple[jax.Array, ...]:
        """Extra arguments of a module after x or z: (condition,) or ()."""
        if self.num_conditions == 0:
            return ()
        if self.condition is None:
            raise UsageError(
                f"the model needs a condition, {self.num_conditions} numbers for each row: call "
                "model.given(condition) first"
            )
        fewer, more = sorted((len(self.condition), len(inputs)))
        if fewer != more and (fewer == 0 or more % fewer):
            raise UsageError(
                f"the model is given {len(self.condition)} conditions for {len(inputs)} rows: call "
                "model.given(condition) with one for each row, or with one for all"
            )
        if "reads_classes" in vars(type(module)):  # its own, not that of a class above it
            return (self.condition,)
        return (labels.vectors(self.condition, self.num_conditions),)

    @property
    def condition_vectors(self) -> jax.Array | None:
        """The condition as numbers, [B, C]: unit vectors of labels; None if there is none."""
        if self.condition is None:
            return None
        return labels.vectors(self.condition, self.num_conditions)

    def init(self, key: jax.Array, examples: Array | None = None) -> dict:
        """Initializes the parameters.

        Args:
            key: PRNG key, scalar.
            examples: training rows from which the prior and then the likelihood are initialized,
                [sum(num_examples), *shape]; None if they need none, or for a likelihood without.

        Returns:
            Pytree of float32 arrays, `{"encoder", "decoder", "likelihood"}`; also "latent", "prior"
            or "mechanism" if these have parameters, and "batch_stats", by module, if modules keep
            running statistics.

        Raises:
            UsageError: a module's output does not have the shape that `Model` needs, a module needs
                a collection or key that `Model` does not supply, the latents cannot have L
                dimensions, the prior does not fit the other parts, or it needs examples.
        """
        arguments.prng_key(key)
        self._check_fields()
        self.latent.check(self.latent_dim)
        self.check_prior()
        self.check_steps()
        encoder_key, decoder_key = jax.random.split(key)
        x = jnp.zeros((1, *self.shape))
        read = self.latent.num_read(self.latent_dim)
        z = jnp.zeros((1, self.latent_dim if read is None else read))
        given = (jnp.zeros((1, self.num_conditions)),) if self.num_conditions else ()
        held = {}
        seen = self._read_by_encoder(x)
        code, held["encoder"] = modules.init(self.encoder, encoder_key, seen, *given)
        self._check_code(code)
        output, held["decoder"] = modules.init(self.decoder, decoder_key, z, *given)
        self._check_output(output)
        # does not change the two keys that were split off
        own = {"latent": self.latent.init(jax.random.fold_in(key, 2), *self._sizes)}
        of_likelihood = self.likelihood.init(self.shape)
        of_prior, rest = self._divided(examples)
        decoder = self.scale_to_fan_in(held["decoder"]["params"])
        if self.is_tied:
            decoder = self._without_kernels(decoder, held["encoder"]["params"])
        if rest is not None:
            of_likelihood = self.likelihood.begin(of_likelihood, rest)
            decoder = self._started(decoder, self.likelihood.starts_near(rest))
        if self.prior_family is not None:
            sizes = priors.Sizes(*self._sizes, self.shape, self.latent)
            own["prior"] = self.prior_family.init(jax.random.fold_in(key, 3), sizes, of_prior)
        if self.mechanism is not None:
            own["mechanism"] = self.mechanism.init(self.likelihood, self.shape)
        params = {
            "encoder": held["encoder"]["params"],
            "decoder": decoder,
            "likelihood": of_likelihood,
            **{name: learned for name, learned in own.items() if learned},
        }
        statistics = {n: v.get(modules.STATISTICS) for n, v in held.items()}
        of_latent = self.latent.init_statistics(self.latent_dim)
        return self._with_statistics(params, {**statistics, "latent": of_latent})

    @property
    def is_tied(self) -> bool:
        """Whether the decoder's kernels are the encoder's, transposed; a scalar."""
        return getattr(self.decoder, "tied", False)

    def decoder_params(self, params: Any) -> dict:
        """The parameters of the decoder, of any shapes, with the kernels it shares if it is tied.

        Args:
            params: from `init`.
        """
        own = _part(params, "decoder")
        if not self.is_tied:
            return own
        kernels = self.decoder.tied_kernels(self.encoder, _part(params, "encoder"))
        return {**own, **{n: {**own[n], "kernel": kernel} for n, kernel in kernels.items()}}

    def _without_kernels(self, own: dict, of_encoder: dict) -> dict:
        """The decoder's initial parameters without tied kernels; raises UsageError on a misfit."""
        kernels = self.decoder.tied_kernels(self.encoder, of_encoder)
        for name, kernel in kernels.items():
            shape, mirror = own[name]["kernel"].shape, kernel.shape
            if shape != mirror:
                raise UsageError(
                    f"tied=True: layer {name!r} of the decoder has a kernel of {shape[0]}×"
                    f"{shape[1]}, that of the encoder has {mirror[0]}×{mirror[1]} transposed: take "
                    "likelihood='gaussian' for numbers that are all there, or leave tied out"
                )
        return {n: {"bias": v["bias"]} if n in kernels else v for n, v in own.items()}

    @property
    def num_examples(self) -> tuple[int, int]:
        """The numbers of training rows from which the prior and the likelihood are initialized."""
        of_prior = 0 if self.prior_family is None else self.prior_family.num_examples
        return of_prior, self.likelihood.num_examples

    def _divided(self, examples: Any) -> tuple[Any, Any]:
        """The training rows of the prior and of the likelihood, [n, *shape] each, or None."""
        of_prior, of_likelihood = self.num_examples
        if examples is None or of_likelihood == 0:
            return examples, None
        rows = jnp.asarray(examples)
        rest = rows[of_prior:]
        return rows[:of_prior] if of_prior else None, rest if len(rest) else None

    def _started(self, params: dict, outputs: jax.Array | None) -> dict:
        """The decoder's parameters with a last bias of these outputs [*shape, …], if it has one."""
        (*_, (name, *below)) = getattr(self.decoder, "layers", None) or (("",),)
        bias = params.get(name, {}).get("bias")
        if outputs is None or bias is None or below or bias.size != outputs.size:
            return params
        return {**params, name: {**params[name], "bias": outputs.reshape(-1).astype(bias.dtype)}}

    def param_shapes(self) -> dict:
        """The shapes and dtypes of the result of `init`, without computing it."""
        num = sum(self.num_examples)
        examples = jax.ShapeDtypeStruct((num, *self.shape), jnp.float32) if num else None
        return jax.eval_shape(self.init, jax.random.key(0), examples)

    def _with_statistics(self, params: dict, statistics: dict) -> dict:
        """Adds the running statistics of the modules, if any, to the parameters."""
        kept = {part: values for part, values in statistics.items() if values}
        return {**params, modules.STATISTICS: kept} if kept else params

    def scale_to_fan_in(self, params: dict) -> dict:
        """Rescales initial parameters of any shapes of a module that reads codes, for the mask.

        Its layer named `latent` sees only the unmasked dimensions, so its kernel is scaled to that
        fan-in: a masked run starts from the same initial values as an unmasked model of that size.
        """
        reads_code = self.latent.num_read(self.latent_dim) is None
        if self.latent_mask is None or "latent" not in params or not reads_code:
            return params
        fan_in = jnp.maximum(self.latent_mask.sum(), 1.0)
        kernel = params["latent"]["kernel"] * jnp.sqrt(self.latent_dim / fan_in)
        return {**params, "latent": {**params["latent"], "kernel": kernel}}

    def _check_fields(self) -> None:
        """Raises UsageError for a part of the model that is of another kind."""
        for name in ("encoder", "decoder"):
            module = getattr(self, name)
            if not isinstance(module, nn.Module):
                raise UsageError(
                    f"{name}={shown(module)}: must be a Linen module: give one that is made, such "
                    "as MyModule(), or take vae_jax.make_model"
                )
        for name, kind in (("likelihood", "num_outputs"), ("latent", "parts")):
            value = getattr(self, name)
            if isinstance(value, type) or not hasattr(value, kind):
                room = {"latent": "latents"}.get(name, "likelihoods")
                raise UsageError(
                    f"{name}={shown(value)}: must be one of vae_jax.{room}: give "
                    f"{room}.Gaussian(), for example"
                )
        if not isinstance(self.shape, tuple | list):
            raise UsageError(
                f"shape={shown(self.shape)}: must be the shape of one example: give a tuple such "
                "as (28, 28, 1)"
            )
        for size in self.shape:
            arguments.integer("shape", size, 1)
        arguments.integer("latent_dim", self.latent_dim, 1)
        arguments.integer("num_conditions", self.num_conditions, 0)
        is_share = isinstance(self.input_dropout, numbers.Real) and 0 <= self.input_dropout < 1
        if not is_share:
            raise UsageError(
                f"input_dropout={shown(self.input_dropout)}: must be a number of at least 0 and"
                " below 1"
            )
        if self.input_dropout and self.likelihood.requires == "text":
            raise UsageError(
                f"input_dropout={self.input_dropout}: x is text, whose characters are no numbers:"
                " leave it out"
            )
        if self.likelihood.of_conditions(self.num_conditions) != self.likelihood:
            raise UsageError(
                f"likelihood {self.likelihood}: must be of the {self.num_conditions} conditions of "
                f"the model: give it num_conditions={self.num_conditions}"
            )
        if self.latent_mask is None:
            return
        is_array = isinstance(self.latent_mask, jax.Array | np.ndarray)
        if not is_array or np.shape(self.latent_mask) != (self.latent_dim,):
            told = f"has shape {list(self.latent_mask.shape)}" if is_array else "is no array"
            raise UsageError(
                f"latent_mask: {told}, must be [{self.latent_dim}], an array of zeros and ones"
            )
        arguments.numeric("latent_mask", self.latent_mask)

    def _check_code(self, code):
        shapes = [np.shape(v) for v in jax.tree.leaves(code)]
        parts = self.latent.parts_for(self.latent_dim)
        if shapes != [(1, self.latent_dim)] * len(parts):
            raise UsageError(
                f"the encoder returns shapes {shapes} for one example: it must return "
                f"({', '.join(parts)}), each [1, latent_dim] = {[1, self.latent_dim]}"
            )

    def _check_output(self, output):
        wanted = math.prod(self.shape) * self.likelihood.num_outputs
        if math.prod(output.shape) != wanted:
            raise UsageError(
                f"the decoder returns shape {list(output.shape)} for one example: it must hold "
                f"{wanted} numbers, shape {list(self.shape)} × {self.likelihood.num_outputs} "
                f"output(s) of {self.likelihood}"
            )

    def check_steps(self) -> None:
        """Raises UsageError if x [*shape] is decoded in steps, and its likelihood is of all."""
        if self.reads_x and self.likelihood.reads_condition:
            raise UsageError(
                f"likelihood {self.likelihood}: has parameters for each condition, x is decoded "
                "step by step: take network='mlp'"
            )
        if self.reads_x and self.likelihood.is_joint:
            raise UsageError(
                f"likelihood {self.likelihood}: reads the total of x, which is decoded step by "
                "step: take network='mlp'"
            )

    def check_prior(self) -> None:
        """Raises UsageError if the prior, over [L], does not fit the latents or the data."""
        prior = self.prior_family
        self.latent.check_prior(prior)
        if prior is None:
            return
        if prior.reads_x and self.num_conditions:
            raise UsageError(
                f"prior={prior}: encodes examples without a condition, the model needs one: take "
                "prior='mixture'"
            )
        is_plain = self.likelihood.requires not in ("text", "columns")
        if prior.reads_x and (not is_plain or self.likelihood.has_missing):
            raise UsageError(
                f"prior={prior}: its pseudo-inputs are numbers of one length, x is not: "
                "take prior='mixture'"
            )

    def prior(self, params) -> Any:
        """p(z), as a value over [L]; for Gaussian latents N(0, I) unless `prior_family` is given.

        In masked dimensions it is independent N(0, 1).
        """
        if self.prior_family is None:
            return self.latent.prior(_part(params, "latent"), *self._sizes)
        # the same density in training and in evaluation
        encode = functools.partial(self.replace(train_key=None).encode, params)
        own = _part(params, "prior") if self.prior_family.is_learned else {}
        beside = {}
        if self.prior_family.of_codes:
            beside = {"codebook": self.latent.codebook(_part(params, "latent"))}
        return self.prior_family.of(own, *self._sizes, encode, **beside)

    @property
    def _sizes(self) -> tuple[int, jax.Array | None]:
        """L and the mask, None or [L]."""
        return self.latent_dim, self.latent_mask

    def per_latent(self, value: Any) -> Any:
        """Broadcasts a scalar to [L], with 0 in masked dimensions; the Python number 0 stays."""
        if isinstance(value, (int, float)) and value == 0:
            return value
        values = jnp.full((self.latent_dim,), value, jnp.float32)
        return values if self.latent_mask is None else values * self.latent_mask

    @property
    def groups(self) -> jax.Array | None:
        """The dimensions of each group of a hierarchy, [G, L]; None if the code is flat."""
        return self.latent.groups(*self._sizes)

    def per_group(self, value: Any) -> Any:
        """Like `per_latent`; of a hierarchy a value for each group, [G], 0 if all is masked."""
        found = self.per_latent(value)
        if isinstance(found, int | float) or self.groups is None:
            return found
        return jnp.max(found[None, :] * self.groups, axis=1)

    def grouped(self, values: jax.Array) -> jax.Array:
        """Sums over the dimensions of each group, [B, L] to [B, G]; unchanged if it is flat."""
        if self.groups is None:
            return values
        return jnp.matmul(values, self.groups.T, precision="highest")

    def without_masked(self, z: Any) -> jax.Array:
        """Codes [B, L] as the decoder sees them: 0 in the masked dimensions."""
        return z if self.latent_mask is None else z * self.latent_mask[None, :]

    def onto(self, z: Any) -> jax.Array:
        """The codes that can occur and are nearest to z, [B, L] to [B, L]; see `latents.Latent`."""
        return self.latent.onto(self.without_masked(z))

    def encode(self, params: Any, x: Array) -> Any:
        """q(z|x), as a value with arrays of shape [B, L]; for Gaussian latents `DiagonalGaussian`.

        Args:
            params: from `init`.
            x: [B, *shape] in the likelihood's range; with K·B conditions the result has K·B rows.
        """
        x = self._examples("x", x)
        outputs, _ = self._run("encoder", params, x)
        own = _part(params, "latent")
        if self.train_key is None and "latent" in params.get(modules.STATISTICS, {}):
            own = {**own, modules.STATISTICS: params[modules.STATISTICS]["latent"]}
        return self.latent.posterior(own, self._parts(outputs), self.latent_mask)

    @staticmethod
    def _parts(outputs: Any) -> tuple[jax.Array, ...]:
        """The outputs of the encoder as float32 [B, L]."""
        return tuple(part.astype(jnp.float32) for part in jax.tree.leaves(outputs))

    def _examples(self, name: str, x: Any) -> Any:
        """Returns x [B, *shape] as it is; lists become arrays. Raises UsageError otherwise."""
        x = arguments.rows(name, x, self.shape)
        if jnp.issubdtype(x.dtype, jnp.integer):
            raise UsageError(
                f"{name}: holds {x.dtype}, must be floats in the range of the likelihood: give "
                f"dataset.decode({name}) of stored values, or {name}.astype('float32')"
            )
        if len(x) == 0:
            raise UsageError(f"{name}: has no rows: must have at least 1")
        return x

    def _run(self, part: str, params: Any, inputs: Array, **read: Any):
        """Runs the encoder or the decoder: (outputs, running statistics after it)."""
        own = self.decoder_params(params) if part == "decoder" else _part(params, part)
        variables, train_key = {"params": own}, self.train_key
        if part in params.get(modules.STATISTICS, {}):
            statistics = params[modules.STATISTICS][part]
            variables[modules.STATISTICS] = jax.lax.stop_gradient(statistics)
        if train_key is not None:
            train_key = jax.random.fold_in(train_key, ("encoder", "decoder").index(part))
        if part == "encoder":
            inputs = self._dropped(self._read_by_encoder(inputs))
        module = getattr(self, part)
        given = inputs, *self._conditions(module, inputs)
        return modules.apply(module, variables, *given, train_key=train_key, **read)

    def _dropped(self, read: Any) -> Any:
        """What the encoder reads, [B, …], in training with some of it dropped; NaN stays NaN.

        Reference:
            Liang et al. 2018, arXiv 1802.05814, section 2.1: dropout of the input.
        """
        if self.train_key is None or self.input_dropout == 0:
            return read
        share = 1.0 - self.input_dropout
        key = jax.random.fold_in(self.train_key, _INPUT)
        is_kept = jax.random.bernoulli(key, share, read.shape)
        return jnp.where(is_kept | jnp.isnan(read), read / share, 0.0)

    def _read_by_encoder(self, x: Any) -> Any:
        """x [B, *shape] as the encoder gets it: itself, or numbers and what is observed of them."""
        if getattr(self.encoder, "reads_missing", False):
            return self.likelihood.seen(x)
        return self.likelihood.read(x)

    @property
    def reads_x(self) -> bool:
        """Whether p(x|z) is a product over steps of x, each given those before it; a scalar."""
        return getattr(self.decoder, "reads_x", False)

    def decode(
        self, params: Any, z: Array, x: Array | None = None, read: jax.Array | None = None
    ) -> jax.Array:
        """The decoder's outputs for z, the parameters of p(x|z).

        Args:
            params: from `init`.
            z: [B, L].
            x: [B, *shape], for teacher forcing of a decoder that reads x, and for a likelihood that
                reads the total of each row; None feeds back the modes of its own outputs, and takes
                a typical total.
            read: what the decoder reads of z, [B, F], if a draw found it (`rates.Draw`); None
                computes it.

        Returns:
            float32 [B, *shape], or [B, *shape, num_outputs] if the likelihood has several outputs.
            If it reads the totals of rows, these are the totals of x. If it has parameters for each
            condition, those of the rows follow the outputs.
        """
        if self.reads_x and x is None:
            return self._unroll(params, z, lambda step, own, _, outputs: step.mode(own, outputs))[0]
        outputs = self._outputs(self._apply(params, z, read, **self._read(x))[0])
        condition = self.condition_vectors if self.likelihood.reads_condition else None
        return self.likelihood.sized(_part(params, "likelihood"), outputs, x, condition)

    def _read(self, x: Any) -> dict[str, Any]:
        """Extra inputs of the decoder beside z: x and the key for teacher dropout, or none."""
        if not self.reads_x:
            return {}
        x = self.likelihood.seen(arguments.rows("x", x, self.shape))
        return {"x": x} if self.teacher_key is None else {"x": x, "key": self.teacher_key}

    def _apply(self, params, z, of_z=None, **read):
        z = arguments.rows("z", z, (self.latent_dim,))
        if of_z is None and self.latent.num_read(self.latent_dim) is None:
            of_z = self.without_masked(self.latent.decoded(z))
        elif of_z is None:
            of_z = self.latent.read(_part(params, "latent"), z, self.latent_mask)
        return self._run("decoder", params, of_z, **read)

    @property
    def has_modes(self) -> bool:
        """Whether a part behaves differently in training and in evaluation; a scalar."""
        of_latent = bool(self.latent.init_statistics(self.latent_dim))
        return (
            of_latent
            or self.input_dropout > 0
            or any(map(modules.has_modes, (self.encoder, self.decoder)))
        )

    def update_statistics(self, params: Any, x: Array, key: jax.Array) -> dict:
        """Updates the running statistics with one batch; other parameters do not change.

        Args:
            params: from `init`.
            x: [B, *shape].
            key: PRNG key for one z ~ q(z|x) per example, which the decoder gets.
        """
        z = self.encode(params, x).sample(arguments.prng_key(key))
        outputs, of_encoder = self._run("encoder", params, x)
        _, of_decoder = self._apply(params, z, **self._read(x))
        found = {"encoder": of_encoder, "decoder": of_decoder}
        if "latent" in params.get(modules.STATISTICS, {}):
            own = params[modules.STATISTICS]["latent"]
            given = params["latent"], own, self._parts(outputs), self.latent_mask
            found["latent"] = self.latent.update_statistics(*given)
        return self._with_statistics(params, found)

    def _outputs(self, outputs, shape=None):
        """Reshapes outputs for the likelihood: [B, *shape, num_outputs], float32."""
        shape = self.shape if shape is None else shape
        extra = () if self.likelihood.num_outputs == 1 else (self.likelihood.num_outputs,)
        return outputs.astype(jnp.float32).reshape(-1, *shape, *extra)

    def _unroll(self, params, z, say):
        """Runs a decoder that reads x on its own outputs, step by step.

        Args:
            params, z: as in `decode`.
            say: (likelihood of a step, its parameters, t, outputs [B, …]) to x_t, which the next
                step reads as `Likelihood.seen`. A step is an example of shape [1, …] with a length
                of 1 for each axis of steps.

        Returns:
            (outputs as in `decode`, x [B, *shape]).
        """
        step, num_axes = self.likelihood.of_step(), getattr(self.decoder, "num_step_axes", 1)
        rest = self.shape[num_axes:]
        one = (*[1] * num_axes, *rest)

        def at(t, leaf):
            return leaf.reshape(-1, *one)[t] if leaf.ndim else leaf

        def feed(t, outputs):
            own = jax.tree.map(functools.partial(at, t), params["likelihood"])
            x = say(step, own, t, self._outputs(outputs, one)).reshape(-1, *rest)
            return x, step.seen(x)

        outputs, x = self._apply(params, z, feed=feed)[0]
        return self._outputs(outputs), x

    def distortion(
        self, params: Any, z: Array, batch: dict, read: jax.Array | None = None
    ) -> jax.Array:
        """−log p(x|z) of a training batch, in nats.

        If the variance has an analytic optimum, it is computed from this batch.

        Args:
            params: from `init`.
            z: [B, L], or K samples per example, [K, B, L].
            batch: {"x": [B, *shape], "mask": [B], 0 for padding}.
            read: see `decode`, [B, F] or [K, B, F].

        Returns:
            [B], or [K, B].
        """
        if not isinstance(batch, Mapping) or not {"x", "mask"} <= batch.keys():
            held = (
                f"holds {', '.join(map(str, batch))}" if isinstance(batch, Mapping) else "is none"
            )
            raise UsageError(
                f"batch: {held}: give {{'x': x, 'mask': mask}}, mask [B] with 1 for each row that "
                "counts"
            )
        num_samples = math.prod(z.shape[:-2])
        rows = z.reshape(-1, self.latent_dim)
        x, mask = batch["x"], batch["mask"]
        if num_samples > 1:
            x, mask = jnp.tile(x, (num_samples, *[1] * (x.ndim - 1))), jnp.tile(mask, num_samples)
        read = None if read is None else read.reshape(-1, read.shape[-1])
        outputs = self.decode(params, rows, x, read)
        scale = self.likelihood.fit(params["likelihood"], outputs, x, mask)
        return -self.likelihood.log_prob(scale, outputs, x).reshape(z.shape[:-1])

    def reconstruct(self, params: Any, x: Array) -> jax.Array:
        """E[x | z = mode of q(z|x)]: the reconstruction in `mode`, [B, *shape] to [B, *shape].

        It is free running: the decoder gets the code only, not x. If the likelihood reads the
        totals of rows, these are the totals of x.
        """
        return self.decode_mean(params, self.encode(params, x).mode, x)

    def predict(self, params: Any, x: Array) -> "Prediction":
        """The code and the reconstruction of x in one pass.

        Args:
            params: from `init`.
            x: [B, *shape].

        Returns:
            `Prediction`: the mode of q(z|x), [B, L], and the result of `reconstruct`, [B, *shape].
        """
        x = jnp.asarray(self._examples("x", x))
        code = self.encode(params, x).mode
        return Prediction(code, self.decode_mean(params, code, x))

    def interpolate(self, params: Any, x0: Array, x1: Array, num: int) -> jax.Array:
        """Decodes points on the lines between the codes of examples; the ends are reconstructions.

        z_i = (1 − t_i) z_0 + t_i z_1, t_i = i / (num − 1), z the mode of q(z|x). Between the ends,
        discrete latents are mixtures of two values, and points that are no codes, such as those
        inside a sphere, are replaced by the nearest code.

        Args:
            params: from `init`.
            x0, x1: [*shape], or pairs of B examples, [B, *shape].
            num: points on each line, a count of at least 2.

        Returns:
            E[x|z], [num, *shape] or [B, num, *shape].

        Raises:
            UsageError: there are fewer than 2 points, or the shapes do not fit.
        """
        x0, x1 = (jnp.asarray(arguments.numeric(n, x)) for n, x in (("x0", x0), ("x1", x1)))
        num = arguments.integer("num", num, 2)
        is_one = x0.shape == self.shape
        if x0.shape != x1.shape or not (is_one or x0.shape[1:] == self.shape):
            raise UsageError(
                f"x0 and x1 have shapes {list(x0.shape)} and {list(x1.shape)}: must be both "
                f"{list(self.shape)}, or both [B, …] of that"
            )
        ends = [x0[None], x1[None]] if is_one else [x0, x1]
        z0, z1 = (self.encode(params, x).mode for x in ends)
        share = jnp.linspace(0.0, 1.0, num)[None, :, None]
        z = (1.0 - share) * z0[:, None, :] + share * z1[:, None, :]
        decoded = self.decode_mean(params, self.onto(z.reshape(-1, self.latent_dim)))
        lines = decoded.reshape(len(z0), num, *self.shape)
        return lines[0] if is_one else lines

    def decode_mean(self, params: Any, z: Array, like: Array | None = None) -> jax.Array:
        """E[x|z], z [B, L] to [B, *shape]; a decoder that reads x feeds back its own modes.

        For text, the most likely characters. A likelihood that reads the total of each row takes
        those of `like`, [B, *shape]; None takes a typical total.
        """
        # a decoder that reads x has no totals, see `check_steps`
        like = None if like is None or self.reads_x else jnp.asarray(like)
        return self.likelihood.mean(_part(params, "likelihood"), self.decode(params, z, like))

    def sample(
        self, params: Any, key: jax.Array, num_samples: int, temperature: float = 1.0
    ) -> tuple[jax.Array, jax.Array]:
        """Draws from the model: z ~ p(z), x ~ p(x|z).

        Args:
            params: from `init`.
            key: PRNG key, scalar.
            num_samples: N.
            temperature: factor of the deviations of p(z), see `latents.at_temperature`.

        Returns:
            (x [N, *shape], E[x|z] [N, *shape]).

        Raises:
            UsageError: the temperature is negative, or p(z) has none.
        """
        num_samples = arguments.integer("num_samples", num_samples, 1)
        z_key, x_key = jax.random.split(arguments.prng_key(key))
        prior = latents.at_temperature(self.prior(params), temperature)
        return self.sample_given(params, x_key, prior.sample(z_key, num_samples))

    def sample_given(self, params: Any, key: jax.Array, z: Array) -> tuple[jax.Array, jax.Array]:
        """Draws x ~ p(x|z).

        Args:
            params: from `init`.
            key: PRNG key, scalar.
            z: [B, L].

        Returns:
            (x [B, *shape], E[x|z] [B, *shape]; in a sequence, the mean of each step given the drawn
                steps before it).
        """
        own = _part(params, "likelihood")
        arguments.prng_key(key)
        if not self.reads_x:
            outputs = self.decode(params, z)
            draws = self.likelihood.sample(own, key, outputs)
            return draws, self.likelihood.mean(own, outputs)

        def say(step, own, t, outputs):
            return step.sample(own, jax.random.fold_in(key, t), outputs)

        outputs, draws = self._unroll(params, z, say)
        return self.likelihood.cut(draws), self.likelihood.mean(own, outputs)


def _part(params: Any, name: str) -> Any:
    """A part of the parameters; None if the latents have none. Raises UsageError otherwise."""
    if isinstance(params, Mapping) and (name in params or name == "latent"):
        return params.get(name)
    is_dict = isinstance(params, Mapping)
    held = f"holds {', '.join(map(repr, params)) or 'nothing'}" if is_dict else "is no dict"
    raise UsageError(
        f"params: {held}, must hold {name!r} as Model.init returns it: give trained.params"
    )
