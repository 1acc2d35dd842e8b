//! The helper of [`builder_executor::sandbox`] as a program of its own, for tests, whose `main` is not theirs.
//! `builder` has the same thing built in and never looks for this.

fn main() {
    if builder_executor::sandbox::is_init() {
        builder_executor::sandbox::init_main();
    }
}
