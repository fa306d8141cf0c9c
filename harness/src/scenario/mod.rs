//! Scenario files: model, parser with carets, plan, and the engine that plays a plan on a [`crate::fleet::Fleet`].
