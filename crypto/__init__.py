"""How everything is protected: signing, sealing, queue boxes, the key ring.

Values in, values out; bytes are never interpreted here, and nothing but `keyring` touches a disk. Import the submodule
that you need; this package re-exports nothing, so that the contract on `crypto.signing` can be held.
"""
