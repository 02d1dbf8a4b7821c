"""Text that the page and the terminal share: formats of numbers, shares, times and ages; sentences about rulings."""
