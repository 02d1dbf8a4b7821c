"""How values are written for people, on the page and in the terminal alike: numbers, shares, times, ages, rulings."""
