"""The sample archive: made-up imagery on true grids, to try everything without network or account.

``bundle`` writes it: ``frames`` say when, where and what ice, ``scene`` makes the pixels, ``items``
describe them.
"""

from glacierflow.local.sample.bundle import SampleSummary, sample_bundle, write_sample

__all__ = ["SampleSummary", "sample_bundle", "write_sample"]
