"""The command line's verbs, one function and one file each; `truthloop.__main__` registers them."""
