"""Drafts a config from topics: every line has a comment that gives its reason.

`pipeline` goes from samples to a config that was tried on them; `builder` makes a `config_draft.ConfigDraft` from the
topics' profiles with the choices of the other modules; `yaml_text` writes it as YAML.
"""
