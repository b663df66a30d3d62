"""The sample archive: made-up imagery on true grids, to try everything without network or account.

``bundle`` writes it: ``passes`` say when, ``grid`` where, ``scene`` makes pixels from the ``ice``, ``items``
describe them.
"""

from glacierflow.local.sample.bundle import SampleSummary, sample_bundle, write_sample

__all__ = ["SampleSummary", "sample_bundle", "write_sample"]
