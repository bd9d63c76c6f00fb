from payments.app import main

main()
