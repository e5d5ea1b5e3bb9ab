//! The mobile node under a virtual clock: what it does when links, routers and the home agent do what they do.

#[cfg(test)]
mod binding;
#[cfg(test)]
mod discovery;
#[cfg(test)]
mod home;
#[cfg(test)]
mod host;
#[cfg(test)]
mod movement;
#[cfg(test)]
mod oddities;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod routers;
#[cfg(test)]
mod stop;
