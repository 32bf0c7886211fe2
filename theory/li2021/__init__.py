"""Statements on the limiting flow of Li, Wang and Arora 2021."""
