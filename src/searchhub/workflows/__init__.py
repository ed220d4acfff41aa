"""What recipes and the command line have in common: settings, stages, and the order of the verbs."""
