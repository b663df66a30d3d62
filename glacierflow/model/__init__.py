"""The values that everything speaks in: region, unit, scene, manifest, receipt, keys of objects."""
