"""The page where people label, correct and learn what to label next: `vidcli review`.

clips      the clips of a data set, and what is said of each
journal    every saying on disk at once, and the manifest that `vidcli train` reads
knowledge  what a frozen network says of the clips, and what a classifier learns from the labels so far
queue      which clip to look at next, and why
playable   the files that a browser can play
retrain    `vidcli train` as a process of its own, and how far it is
run_answers  what runs answered to the clips, as `vidcli eval` wrote it
desk       what the page asks and tells
entrance   who may enter: the token of the address becomes a cookie
pages      the addresses and their answers
"""
