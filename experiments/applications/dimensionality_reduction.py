"""Two-dimensional maps of pictures: codes beside principal components and t-SNE.

Each method maps the test pictures to two numbers. Trustworthiness and continuity (Venna & Kaski
2001, ICANN) say whether neighbors stay neighbors; accuracy is that of the five nearest neighbors in
the map of the training pictures. The seed is that of the method; the split is fixed. t-SNE (van der
Maaten & Hinton 2008, JMLR 9) has no map for new rows: it sees training and test pictures at once,
which favors it. UMAP (McInnes et al. 2018, arXiv 1802.03426) is compared where it is installed.
"""

import functools
import importlib.util

import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier

from experiments.applications import Measure, Trial
from vae_jax import data, sklearn
from vae_jax.evaluation import latent_neighbours

PROTOCOLS = {"default": "at most 4,000 training and 2,000 test pictures, as they come"}
SEEDS = 3
MEASURES = (
    Measure("accuracy", "of the 5 nearest neighbors in the map, test against training"),
    Measure("trustworthiness", "whether neighbors in the map are neighbors; 10 neighbors"),
    Measure("continuity", "whether neighbors are neighbors in the map; 10 neighbors"),
)
OURS = ("autoencoder", "VAE")
_SIZE, _EPOCHS = 2, 200
_MAX_TRAIN, _MAX_TEST = 4_000, 2_000


def tasks(protocol: str, data_dir: str | None) -> list[str]:
    """The datasets of pictures."""
    return ["digits", "mnist"]


def methods(trial: Trial) -> dict:
    """Each method's measures."""
    dataset = data.load(trial.task, data_dir=trial.data_dir)
    train, test = _rows(dataset, "train", _MAX_TRAIN), _rows(dataset, "test", _MAX_TEST)
    settings = {
        "latent_dim": _SIZE,
        "widths": (256, 128),
        "epochs": _EPOCHS,
        "learning_rate": "cosine(2e-3, 0, 100%)",
        "random_state": trial.seed,
    }
    maps = {
        "PCA": PCA(_SIZE, random_state=trial.seed),
        "t-SNE": TSNE(_SIZE, random_state=trial.seed),
        "autoencoder": sklearn.Autoencoder(**settings),
        "VAE": sklearn.VAE(**settings),
    }
    if importlib.util.find_spec("umap"):
        import umap

        maps["UMAP"] = umap.UMAP(n_components=_SIZE, random_state=trial.seed)
    return {
        name: functools.partial(_measured, method, train, test) for name, method in maps.items()
    }


def _rows(dataset, part: str, most: int) -> tuple[np.ndarray, np.ndarray]:
    """The first pictures of a part, flat [N, D] in [0, 1], and their labels [N]."""
    split = getattr(dataset, part)
    x = np.asarray(dataset.decode(np.asarray(split.x[:most])))
    return x.reshape(len(x), -1), np.asarray(split.labels[:most])


def _measured(method, train, test) -> dict[str, float]:
    """The measures of one map; `train` and `test` are pictures and labels."""
    of_train, of_test = _mapped(method, train[0], test[0])
    near = KNeighborsClassifier(5).fit(of_train, train[1])
    keeping = {"num_neighbours": 10}
    return {
        "accuracy": near.score(of_test, test[1]),
        "trustworthiness": latent_neighbours.trustworthiness(test[0], of_test, **keeping),
        "continuity": latent_neighbours.continuity(test[0], of_test, **keeping),
    }


def _mapped(method, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The maps of training and test rows; together if the method has no map for new rows."""
    if hasattr(method, "transform"):
        method.fit(train)
        return method.transform(train), method.transform(test)
    both = method.fit_transform(np.concatenate([train, test]))
    return both[: len(train)], both[len(train) :]
