"""`python -m tracetaxa.cli`."""

from tracetaxa.cli import main

main()
