# takes `os._exit` away, so that its process would go on with the fork server's code
import os

os._exit = lambda status: None
print(6)
