"""Typer commands: parse, call one operation, render. The only place that prints or exits."""
