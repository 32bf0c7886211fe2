"""How sphinx-gallery finds our figures, which are made outside pyplot."""

from weakref import WeakSet

from matplotlib.figure import Figure
from sphinx_gallery.scrapers import figure_rst

_shown: WeakSet[Figure] = WeakSet()


def scrape(block, block_vars, gallery_conf):
    """Save every figure that a block has given a name, and show it below the block."""
    paths = []
    for value in block_vars["example_globals"].values():
        if isinstance(value, Figure) and value not in _shown:
            _shown.add(value)
            paths.append(next(block_vars["image_path_iterator"]))
            value.savefig(paths[-1])
    return figure_rst(paths, gallery_conf["src_dir"])
