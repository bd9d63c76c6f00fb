from loadtest.load.command import load, main

main(load)
