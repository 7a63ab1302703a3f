from report_run import browser, other, run  # noqa: F401 - fixtures
