"""Which list a stage works on, and what stands for its content in a fingerprint."""

from data.dataset import Index
from data.index import open_index
from utils.config import Config


def seed_list(cfg: Config) -> str:
    """`data.seed_list`, or the training list where it is empty."""
    return cfg.data.seed_list or cfg.data.train_list


def seed_index(cfg: Config) -> Index:
    """The pictures that get seeds and pseudo masks; no masks among them."""
    return open_index(cfg.data, seed_list(cfg))


def list_fingerprint(cfg: Config, list_name: str) -> str:
    """Changes with the list's pictures or labels."""
    return open_index(cfg.data, list_name).fingerprint()
