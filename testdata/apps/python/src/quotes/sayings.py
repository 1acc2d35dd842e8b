SAYINGS = [
    {"author": "Grace Hopper", "text": "A ship in port is safe, but that's not what ships are built for."},
    {"author": "Blaise Pascal", "text": "I made this longer because I had no time to make it shorter."},
    {"author": "Seneca", "text": "It is not that we have a short time, but that we waste much of it."},
]
