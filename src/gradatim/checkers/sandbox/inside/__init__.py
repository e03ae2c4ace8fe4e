"""What runs inside a box: plain Python of the standard library alone, since a box sees no other package.

The fork server (`zygote`) is started with this folder and nothing else of Gradatim's; `plain` is used on both sides.
"""
