from auditor.command import main

main()
