"""WST's recipe as the research scripts of the field run it, written plainly: what ours is compared with.

The transform and its inverse as grouped convolutions in every block, images decoded anew in every epoch by a
DataLoader, ``loss.item()`` in every step, and the whole test split scored after every epoch.  Only the frozen
backbone is made by wst; nothing here uses its methods or its training.
"""
