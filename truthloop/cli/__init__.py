"""The command line: every verb, and what several verbs share.

Arguments come in; results go out on stdout, everything else on stderr. What a verb does is done elsewhere.
"""
