"""The verb `ensemble`: finished models -> one model, its members chosen on images that none of them was trained on."""
