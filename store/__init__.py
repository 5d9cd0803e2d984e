"""Rows, migrations, reader, writer, ledger and audit of everything elisa knows."""
