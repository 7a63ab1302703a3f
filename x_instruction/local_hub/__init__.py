"""A small server that speaks the protocol of the Hugging Face Hub: for machines without a network, and for rehearsals.

    folder/local-hub.json                        tokens, as hashes
    folder/collections.json
    folder/tmp/                                  what is being received; emptied at the start
    folder/datasets/<namespace>/<name>.git/      a bare git repository, git-lfs objects inside it
        hub.json                                 visibility, gating, who was let in
        discussions.json                         discussions and pull requests
    folder/buckets/<namespace>/<name>/files/     the files of a bucket, as they are
        bucket.json                              visibility
        index.sqlite                             the hash of each file
    folder/jobs/<namespace>/<id>/                what a job is, and its log

Every write is a temporary file, synced and renamed, and a commit ends with the renaming of its ref: whatever kills the
server leaves the old state or the new one.
"""
