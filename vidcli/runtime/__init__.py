"""The machine under the program: its files and locks."""
