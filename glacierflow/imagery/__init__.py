"""The imagery engine: from the blocks of source images to a region's grid.

``mosaic`` puts the scenes of an acquisition together; it stands on ``blocks`` (which bytes, in few requests),
``ranges`` (the network), ``geotiff`` (headers), ``lattice`` (exact coordinates) and ``kernels`` (resampling).
``gdal`` reads what the engine does not know; ``cache`` keeps what units of one slot have in common.
"""
