"""Texts for language models to read, one file a corpus; a file is found by its name.

Each ends in `load(**kwargs) -> Texts`; a file name is what `config.text.name` names.
"""
