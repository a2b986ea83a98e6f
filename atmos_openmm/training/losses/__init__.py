"""The terms of the loss, as functions of tensors."""
