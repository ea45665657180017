"""Pictures that answer the reader: attention, a map of embeddings, InfoNCE against the truth.

Each is one piece of HTML that shows itself in Jupyter, Colab and the book, and asks no library and
no network for anything. Python gives the numbers, and a sentence and a table for where no script
runs; the script of the same name draws.
"""

from .attention import explore_attention
from .embeddings import explore_embeddings
from .explorer import Explorer
from .info_nce import explore_info_nce

__all__ = ["Explorer", "explore_attention", "explore_embeddings", "explore_info_nce"]
