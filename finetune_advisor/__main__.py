"""`python -m finetune_advisor`."""

from finetune_advisor.cli import main

main()
