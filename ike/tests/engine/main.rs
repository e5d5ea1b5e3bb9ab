//! Two engines back to back.

#[cfg(test)]
mod attach;
#[cfg(test)]
mod collision;
#[cfg(test)]
mod established;
#[cfg(test)]
mod loss;
#[cfg(test)]
mod messages;
#[cfg(test)]
mod movement;
#[cfg(test)]
mod stranger;
#[cfg(test)]
mod tracker;
#[cfg(test)]
mod world;
