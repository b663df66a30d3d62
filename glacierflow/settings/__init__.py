"""Settings: the two ini files, the environment and the command line become one frozen value.

>>> from glacierflow.settings import load_settings
>>> loaded = load_settings(overrides={"SETTINGS.satellite": "landsat"}, environ={})
>>> loaded.settings.settings.satellite, loaded.origins["SETTINGS.satellite"]
('landsat', 'command line')
"""

from __future__ import annotations

from glacierflow.settings.load import LoadedSettings, examine_settings, load_settings
from glacierflow.settings.models import Settings, iter_fields, section_attribute
from glacierflow.settings.sources import EVENT, IniFile

__all__ = [
    "EVENT",
    "IniFile",
    "LoadedSettings",
    "Settings",
    "examine_settings",
    "iter_fields",
    "load_settings",
    "section_attribute",
]
