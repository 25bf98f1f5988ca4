"""Linear, generalized linear and mixed models, and inference from them in every way there is."""

from .backends import set_backend
from .comparing import compare
from .datasets import dataset_info, list_datasets, load_dataset
from .model import model

__version__ = "0.1.0"

__all__ = ["compare", "dataset_info", "list_datasets", "load_dataset", "model", "set_backend"]
