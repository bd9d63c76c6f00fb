from backstage.app import main

main()
