"""Plans of large runs: hours, cost and storage by stage and language, from what a small run measured."""
