mod mail;
mod model;
mod stories;
