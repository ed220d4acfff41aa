"""`python -m searchhub`, also under `accelerate launch -m`."""

from searchhub.cli.main import main

main()
