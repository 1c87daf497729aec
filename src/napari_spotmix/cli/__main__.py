"""``python -m napari_spotmix.cli``."""

from napari_spotmix.cli import main

main()
