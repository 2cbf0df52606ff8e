"""Where the bytes of a file lie: on a disk, inside a tar file, or afar; one door to all of them.

    addresses      paths that are addresses (`s3://bucket/a.mp4`), and how they are shown without secrets
    connections    opening fsspec's file systems, asking again what may pass, saying what went wrong
    file_systems   what lies afar: opening, listing, fetching and storing it
    blocks         a seekable file that reads blocks ahead and keeps them; counts the bytes fetched
    tar_members    paths inside tar files (`000000.tar/clip.mp4`), and the index of a tar file
    sources        opens a path wherever its bytes lie

A path is an address only where a person or a manifest names one: `path_of` alone makes them of text. Any
other text, such as `https://...` given to `open_video`, stays the name of a local file.
"""
