"""How many machines so many orders a second and open sockets take, reckoned from measured costs."""
