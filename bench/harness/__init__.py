"""The benchmark: `workload` says what is built, `tool` how each builder is driven, `report` what comes out."""
