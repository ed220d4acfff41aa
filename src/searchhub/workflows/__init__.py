"""Settings, stages and the order of the verbs, which recipes and the command line share."""
