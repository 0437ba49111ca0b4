"""How much two views of one thing share, measured with held-out pairs: I_NCE, with NWJ and SMILE beside it."""
