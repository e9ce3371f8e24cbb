"""The reward model beside a bag of words on ratings that people published."""
