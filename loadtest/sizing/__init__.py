"""Estimates from measured costs how many machines a rate of orders and a number of open sockets need."""
