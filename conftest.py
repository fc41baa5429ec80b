"""One harness for every test, wherever it lives: pytest's fixtures in tests/, pgTAP's files in supabase/tests/."""

pytest_plugins = ("tests.harness.fixtures", "tests.harness.pgtap")
